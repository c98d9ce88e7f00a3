"""Reject: which parts are likely off dimension or porous, said while the part can still be taken out."""
