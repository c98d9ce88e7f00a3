"""RefPlant on OPC UA: five PLC servers and a MES server with ISA-95 Job Control around one simulated plant.

Modules, from the wire inwards: ``endpoint`` (one OPC UA server, quiet and quick to start), ``tags`` (what a PLC shows),
``plc`` and ``interlocks`` (a PLC and its own logic), ``job_types``, ``job_control`` and ``mes`` (the MES), ``events``,
``tag_history``, ``event_history``, ``past`` and ``history_service`` (what a historian keeps, and HistoryRead),
``faults`` (what goes wrong on purpose), ``site`` (the plant and its six servers as one), ``serve`` (the process).
"""
