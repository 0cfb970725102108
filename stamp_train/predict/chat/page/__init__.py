"""The page of `chat --web`, as `stamp_data.web.files` serves it."""
