"""Writes new plugins and recipes from the shipped examples: `mentorkit new`.

    examples/ ──names replaced, kinds chosen──> a package with its tests, its recipe and its README

The examples are packages that are built and tested themselves, so that what is made from them works.
"""
