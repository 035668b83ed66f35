"""What every floor stands on: errors, files, names, secrets, progress, the environment."""
