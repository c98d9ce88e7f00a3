// A client of another make on the recommendations of a machine: types, structures and enumerations, events, refresh,
// acknowledge, confirm, comment, accept, reject, write, history. Takes {endpoint, uri, certificate, key, pki,
// comers: [{machine, ...}]} (session.js says what they are) and gives what each comer met.
const opcua = require("node-opcua-client");
const { visit } = require("./session.js");
const { main } = require("./program.js");
const { AttributeIds, DataType } = opcua;

async function browseTypes(session, ns, machine) {
  // From the instance's type up to BaseEventType, by inverse HasSubtype.
  const chain = [];
  const type = await session.browse({
    nodeId: `ns=${ns};s=Milling/${machine}/maintenance`, referenceTypeId: "HasTypeDefinition",
    browseDirection: opcua.BrowseDirection.Forward, resultMask: 63,
  });
  let node = type.references[0];
  while (node) {
    chain.push(node.browseName.name);
    const up = await session.browse({
      nodeId: node.nodeId, referenceTypeId: "HasSubtype", includeSubtypes: false,
      browseDirection: opcua.BrowseDirection.Inverse, resultMask: 63,
    });
    node = (up.references || [])[0];
  }
  return chain;
}

async function readStates(session, ns) {
  await opcua.getExtraDataTypeManager(session);
  const enumeration = await session.read({
    nodeId: `ns=${ns};s=RecommendationStateEnum`, attributeId: AttributeIds.DataTypeDefinition });
  return enumeration.value.value.fields.map((f) => f.name);
}

const fields = [
  "EventId", "EventType", "SourceName", "Message", "Severity", "Retain", "AckedState.Id", "ConfirmedState.Id", "Comment",
  "ClientUserId",
];

async function watch(session, ns, machine) {
  const own = ["Key", "State", "Flag", "Reasons"];
  const filter = opcua.constructEventFilter(
    [...fields, ...own.map((n) => `${ns}:${n}`)], opcua.ofType("AcknowledgeableConditionType"));
  filter.selectClauses.push(new opcua.SimpleAttributeOperand({
    typeDefinitionId: opcua.resolveNodeId("ConditionType"), browsePath: [], attributeId: AttributeIds.NodeId,
  }));
  const names = [...fields, ...own, "ConditionId"];
  const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, publishingEnabled: true,
    requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20 });
  const item = await subscription.monitor(
    { nodeId: opcua.resolveNodeId("Server"), attributeId: AttributeIds.EventNotifier },
    { samplingInterval: 0, queueSize: 100, filter, discardOldest: true }, opcua.TimestampsToReturn.Both);
  const waiting = [];
  const queue = [];
  item.on("changed", (values) => {
    const event = Object.fromEntries(names.map((n, i) => [n, values[i] && values[i].value]));
    if (event.SourceName !== machine) return;
    const next = waiting.shift();
    if (next) next(event); else queue.push(event);
  });
  const next = () => queue.length ? Promise.resolve(queue.shift()) : new Promise((done, fail) => {
    waiting.push(done);
    setTimeout(() => fail(new Error("no event within 20 s")), 20000);
  });
  return { subscription, next };
}

const told = (e) => ({
  message: e.Message.text, severity: e.Severity, retain: e.Retain, acked: e["AckedState.Id"],
  confirmed: e["ConfirmedState.Id"], comment: (e.Comment && e.Comment.text) || null, user: e.ClientUserId || null,
  key: e.Key, state: e.State, flag: e.Flag, reasons: (e.Reasons || []).map((r) => [r.tag, r.weight]),
});

async function call(session, objectId, methodId, key, comment) {
  const result = await session.call({ objectId, methodId, inputArguments: [
    { dataType: DataType.String, value: key },
    { dataType: DataType.LocalizedText, value: opcua.coerceLocalizedText(comment) },
  ] });
  return result.statusCode.name;
}

async function answer(session, ns, conditionId, first, next) {
  const seen = {};
  // What is refused is followed by no event.
  const say = async (status) => status.name === "Good" ? [status.name, told(await next())] : [status.name];
  seen.comment = await say(await opcua.callMethodCondition(
    session, "AddComment", conditionId, first.EventId, "on my way"));
  seen.acknowledge = await say(await session.acknowledgeCondition(conditionId, first.EventId, "seen"));
  seen.again = (await session.acknowledgeCondition(conditionId, first.EventId, "seen")).name;
  seen.confirm = await say(await session.confirmCondition(conditionId, first.EventId, "done"));
  const method = (name) => opcua.coerceNodeId(`ns=${ns};s=RecommendationType/${name}`);
  seen.stale = await call(session, conditionId, method("Accept"), "an older key", "");
  seen.accept = await call(session, conditionId, method("Accept"), first.Key, "go ahead");
  if (seen.accept === "Good") await next();
  seen.reject = await call(session, conditionId, method("Reject"), "", "second thoughts");
  if (seen.reject === "Good") await next();
  const wrong = await session.call({ objectId: conditionId, methodId: method("Accept"), inputArguments: [
    { dataType: DataType.Int32, value: 1 }, { dataType: DataType.Boolean, value: true }] });
  seen.wrong = wrong.statusCode.name;
  return seen;
}

async function converse(session, ns, machine) {
  const seen = { types: await browseTypes(session, ns, machine), states: await readStates(session, ns) };
  const conditionId = opcua.coerceNodeId(`ns=${ns};s=Milling/${machine}/maintenance`);
  const { subscription, next } = await watch(session, ns, machine);
  console.error(`${machine} is watched`);
  const first = await next();
  seen.event = told(first);
  seen.conditionId = first.ConditionId.toString() === conditionId.toString();
  Object.assign(seen, await answer(session, ns, conditionId, first, next));
  await opcua.callConditionRefresh(session, subscription.subscriptionId);
  seen.refreshed = told(await next()).key;
  const flag = { nodeId: `ns=${ns};s=${machine}.maintenance.flag`, attributeId: AttributeIds.Value };
  seen.write = await session.write({ ...flag, value: { value: { dataType: DataType.Boolean, value: false } } })
    .then((s) => s.name, (e) => e.message);
  const past = await session.readHistoryValue(
    flag.nodeId, new Date("2026-01-05T00:00:00Z"), new Date("2026-01-06T00:00:00Z"));
  seen.history = past.historyData.dataValues.map((v) => [v.sourceTimestamp.toISOString(), v.value.value]);
  return seen;
}

main(async (given) => {
  const met = [];
  for (const comer of given.comers) met.push(await visit(given, comer, (s, ns) => converse(s, ns, comer.machine)));
  return met;
});
