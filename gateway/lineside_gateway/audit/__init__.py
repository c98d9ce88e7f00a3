"""The audit log: what was decided and done, line by line, each line chained to the one before."""

from lineside_gateway.audit.chain import AuditError, Head
from lineside_gateway.audit.log import AuditLog
from lineside_gateway.audit.reading import Verdict, entries, export_csv, verify
from lineside_gateway.audit.redaction import redact

__all__ = ["AuditError", "AuditLog", "Head", "Verdict", "entries", "export_csv", "redact", "verify"]
