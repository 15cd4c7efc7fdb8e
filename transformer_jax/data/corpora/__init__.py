"""Where text comes from: one file per corpus, each a frozen dataclass whose fields are its spec arguments."""
