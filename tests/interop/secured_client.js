// A client of another make over secured channels: each user comes in, reads, tries to write and to hold the plant at
// advisory. Takes {endpoint, uri, certificate, key, pki, users: [...]} (session.js says what they are).
const opcua = require("node-opcua-client");
const { visit, firstLine } = require("./session.js");
const { main } = require("./program.js");

async function tryAll(session, ns) {
  const nodeId = `ns=${ns};s=A1.maintenance.flag`;
  const flag = await session.read({ nodeId, attributeId: opcua.AttributeIds.Value });
  const value = { value: { dataType: opcua.DataType.Boolean, value: false } };
  const write = await session.write({ nodeId, attributeId: opcua.AttributeIds.Value, value })
    .then((s) => s.name, (e) => e.message);
  const hold = { objectId: `ns=${ns};s=Gateway`, methodId: `ns=${ns};s=Gateway/HoldAtAdvisory` };
  const why = [{ dataType: opcua.DataType.LocalizedText, value: { text: "drill" } }];
  const call = await session.call({ ...hold, inputArguments: why });
  const few = await session.call({ ...hold, inputArguments: [] });
  return { flag: flag.value.value, write, call: call.statusCode.name, few: few.statusCode.name };
}

main(async (given) => {
  const seen = [];
  for (const user of given.users) seen.push(await visit(given, user, tryAll).catch((e) => ({ refused: firstLine(e) })));
  return seen;
});
