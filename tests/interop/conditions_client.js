// A client of another make as an operator: types, structures and enumerations, events, refresh, acknowledge, confirm,
// comment, accept, reject, history. Prints one JSON object. Usage: node conditions_client.js ENDPOINT MACHINE
const opcua = require("node-opcua-client");
const [endpoint, machine] = process.argv.slice(2);
const { AttributeIds, DataType, VariantArrayType } = opcua;

async function browseTypes(session, ns) {
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

const fields = [
  "EventId", "EventType", "SourceName", "Message", "Severity", "Retain", "AckedState.Id", "ConfirmedState.Id", "Comment",
  "ClientUserId",
];

async function watch(session, ns) {
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
  confirmed: e["ConfirmedState.Id"], comment: e.Comment.text, user: e.ClientUserId, key: e.Key, state: e.State,
  flag: e.Flag, reasons: (e.Reasons || []).map((r) => [r.tag, r.weight]),
});

async function call(session, objectId, methodId, key, comment) {
  const result = await session.call({ objectId, methodId, inputArguments: [
    { dataType: DataType.String, value: key },
    { dataType: DataType.LocalizedText, value: opcua.coerceLocalizedText(comment) },
  ] });
  return result.statusCode.name;
}

(async () => {
  const client = opcua.OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 1 } });
  await client.connect(endpoint);
  const session = await client.createSession();
  const ns = (await session.readNamespaceArray()).indexOf("urn:lineside:ua");
  const seen = { types: await browseTypes(session, ns) };
  await opcua.getExtraDataTypeManager(session);
  const enumeration = await session.read({
    nodeId: `ns=${ns};s=RecommendationStateEnum`, attributeId: AttributeIds.DataTypeDefinition });
  seen.states = enumeration.value.value.fields.map((f) => f.name);
  const conditionId = opcua.coerceNodeId(`ns=${ns};s=Milling/${machine}/maintenance`);
  const { subscription, next } = await watch(session, ns);
  console.error("watching");
  const first = await next();
  seen.event = told(first);
  seen.conditionId = first.ConditionId.toString() === conditionId.toString();
  const say = async (status) => [status.name, told(await next())];
  seen.comment = await say(await opcua.callMethodCondition(
    session, "AddComment", conditionId, first.EventId, "on my way"));
  seen.acknowledge = await say(await session.acknowledgeCondition(conditionId, first.EventId, "seen"));
  seen.again = (await session.acknowledgeCondition(conditionId, first.EventId, "seen")).name;
  seen.confirm = await say(await session.confirmCondition(conditionId, first.EventId, "done"));
  await opcua.callConditionRefresh(session, subscription.subscriptionId);
  seen.refreshed = told(await next()).key;
  const method = (name) => opcua.coerceNodeId(`ns=${ns};s=RecommendationType/${name}`);
  seen.stale = await call(session, conditionId, method("Accept"), "an older key", "");
  seen.accept = await call(session, conditionId, method("Accept"), first.Key, "go ahead");
  await next();
  seen.reject = await call(session, conditionId, method("Reject"), "", "second thoughts");
  await next();
  const wrong = await session.call({ objectId: conditionId, methodId: method("Accept"), inputArguments: [
    { dataType: DataType.Int32, value: 1 }, { dataType: DataType.Boolean, value: true }] });
  seen.wrong = wrong.statusCode.name;
  const end = new Date("2026-01-06T00:00:00Z");
  const past = await session.readHistoryValue(
    `ns=${ns};s=${machine}.maintenance.flag`, new Date("2026-01-05T00:00:00Z"), end);
  seen.history = past.historyData.dataValues.map((v) => [v.sourceTimestamp.toISOString(), v.value.value]);
  await session.close();
  await client.disconnect();
  console.log(JSON.stringify(seen));
})().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
