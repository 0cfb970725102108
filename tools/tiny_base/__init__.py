"""tiny-base: a small Qwen2-VL that has learned to look at synthetic scenes and to answer questions about them."""
