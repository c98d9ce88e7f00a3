"""Recommendations as OPC UA conditions: events, Acknowledge, Confirm, AddComment, ConditionRefresh, Accept, Reject."""

from lineside_gateway.publish.conditions.answers import AlarmAnswer, Answer, Answers, NoAnswers, Verdict
from lineside_gateway.publish.conditions.condition import Condition
from lineside_gateway.publish.conditions.desk import ConditionDesk

__all__ = ["AlarmAnswer", "Answer", "Answers", "Condition", "ConditionDesk", "NoAnswers", "Verdict"]
