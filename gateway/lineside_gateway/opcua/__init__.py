"""The gateway's OPC UA client side: sessions, subscriptions, writes, events and job orders.

asyncua is spoken here and in the hosted server only; the rest of the gateway sees arrays, records and errors.
"""
