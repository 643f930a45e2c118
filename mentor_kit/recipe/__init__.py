"""Recipes: their model, how they are read and checked, and how one becomes an experiment."""
