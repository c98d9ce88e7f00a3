// A plain OPC UA client of another make: reads one recommendation by browse path, watches its flag, tries to write it
// and to log in as admin. Prints one JSON object. Usage: node hosted_client.js ENDPOINT WATCH_MS
const opcua = require("node-opcua-client");
const [endpoint, watchMs] = process.argv.slice(2);
const quick = { endpointMustExist: false, connectionStrategy: { maxRetry: 1 } };
const fields = ["Flag", "Confidence", "Reason", "ModelVersion", "WindowEnd", "Reasons"];

async function look() {
  const client = opcua.OPCUAClient.create(quick);
  await client.connect(endpoint);
  const session = await client.createSession();
  const ns = (await session.readNamespaceArray()).indexOf("urn:lineside:ua");
  const seen = { values: {}, statuses: [] };
  const read = (nodeId) => session.read({ nodeId, attributeId: opcua.AttributeIds.Value });
  for (const name of fields) {
    const names = ["Lineside", "A1", "maintenance", name].map((n) => `${ns}:${n}`);
    const found = await session.translateBrowsePath(opcua.makeBrowsePath("RootFolder", "/Objects/" + names.join("/")));
    const value = await read(found.targets[0].targetId);
    seen.values[name] = [value.statusCode.name, value.value.value];
  }
  const nodeId = `ns=${ns};s=A1.maintenance.flag`;
  const item = { nodeId, attributeId: opcua.AttributeIds.Value };
  const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, publishingEnabled: true });
  const monitored = await subscription.monitor(item, { samplingInterval: 20, queueSize: 10 }, opcua.TimestampsToReturn.Both);
  monitored.on("changed", (value) => seen.statuses.push(value.statusCode.name));
  console.error("watching");
  const falsehood = { value: { dataType: opcua.DataType.Boolean, value: false } };
  seen.write = await session.write({ ...item, value: falsehood }).then((s) => s.name, (e) => e.message);
  await new Promise((done) => setTimeout(done, Number(watchMs)));
  await session.close();
  await client.disconnect();
  return seen;
}

async function admin() {
  const client = opcua.OPCUAClient.create(quick);
  await client.connect(endpoint);
  const user = { type: opcua.UserTokenType.UserName, userName: "admin", password: "guess" };
  const outcome = await client.createSession(user).then(() => "let in", () => "refused");
  await client.disconnect();
  return outcome;
}

(async () => {
  const seen = await look();
  seen.admin = await admin();
  console.log(JSON.stringify(seen));
})().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
