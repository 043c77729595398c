"""What pages are put together from: viewers that live in the browser."""
