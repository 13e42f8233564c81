"""Tests with random input: nothing but `config.errors.UserError` escapes, and memory is bounded.

`make test` runs a fixed sample of it, `make fuzz` new and more input.
"""
