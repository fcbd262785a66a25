"""Ours beside other people's, on the same public data under the same protocol in the same run."""
