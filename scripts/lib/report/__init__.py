"""The pages of the report: HTML without scripts, and what stands in them."""
