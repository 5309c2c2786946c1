"""Everything is declared in pyproject.toml; this file is what ``pip install .`` starts from."""

from setuptools import setup

setup()
