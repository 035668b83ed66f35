"""Embedded models: each folder holds weights, model card and the recipe that makes them."""
