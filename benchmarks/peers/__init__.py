"""Who competes, one file each; a new file is picked up by itself."""

from benchmarks.peers.base import Peer, peers

__all__ = ["Peer", "peers"]
