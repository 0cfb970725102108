"""The page of `annotate`, as `stamp_data.web.files` serves it."""
