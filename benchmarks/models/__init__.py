"""Model benchmark on public data: each row beside its tree baseline and a published anchor, with a 95 % interval."""
