"""`stamp-train chat`: conversations about pictures, on the terminal and as a local page."""
