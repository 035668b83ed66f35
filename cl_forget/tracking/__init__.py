"""Where results go besides the return value: files always, Weights & Biases when asked."""
