// A plain OPC UA client of another make: reads one recommendation by browse path, watches its flag until it is no more
// Good, tries to write it and to log in as admin. Takes {endpoint}.
const opcua = require("node-opcua-client");
const { visit } = require("./session.js");
const { main } = require("./program.js");
const fields = ["Flag", "Confidence", "Reason", "ModelVersion", "WindowEnd", "Reasons"];
const WAIT_MS = 60000;

async function look(session, ns) {
  const seen = { values: {}, statuses: [] };
  for (const name of fields) {
    const names = ["Lineside", "A1", "maintenance", name].map((n) => `${ns}:${n}`);
    const found = await session.translateBrowsePath(opcua.makeBrowsePath("RootFolder", "/Objects/" + names.join("/")));
    const value = await session.read({ nodeId: found.targets[0].targetId, attributeId: opcua.AttributeIds.Value });
    seen.values[name] = [value.statusCode.name, value.value.value];
  }
  const item = { nodeId: `ns=${ns};s=A1.maintenance.flag`, attributeId: opcua.AttributeIds.Value };
  const falsehood = { value: { dataType: opcua.DataType.Boolean, value: false } };
  seen.write = await session.write({ ...item, value: falsehood }).then((s) => s.name, (e) => e.message);
  const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, publishingEnabled: true });
  await new Promise((stale, fail) => {
    setTimeout(() => fail(new Error(`Good after ${WAIT_MS} ms`)), WAIT_MS);
    subscription.monitor(item, { samplingInterval: 20, queueSize: 10 }, opcua.TimestampsToReturn.Both)
      .then((monitored) => monitored.on("changed", (value) => {
        seen.statuses.push(value.statusCode.name);
        if (seen.statuses.length === 1) console.error("watching");
        if (value.statusCode.name !== "Good") stale();
      }), fail);
  });
  return seen;
}

main(async (given) => {
  const seen = await visit(given, {}, look);
  const admin = { name: "admin", password: "guess" };
  seen.admin = await visit(given, admin, () => "let in").catch(() => "refused");
  return seen;
});
