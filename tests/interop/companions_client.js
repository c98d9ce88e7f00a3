// A client of another make reads what companion specifications make of a recommendation, by the definitions that the
// server gives. Takes {endpoint, results, orders}: NodeIds without namespace.
const opcua = require("node-opcua-client");
const { visit } = require("./session.js");
const { main } = require("./program.js");

main((given) => visit(given, {}, async (session, ns) => {
  await opcua.getExtraDataTypeManager(session);
  const read = async (name) => (await session.read({ nodeId: `ns=${ns};s=${name}`,
    attributeId: opcua.AttributeIds.Value })).value.value;
  const result = await read(given.result), orders = await read(given.orders);
  const meta = result.resultMetaData;
  return {
    health: await read(given.health),
    result: [meta.resultId, meta.partId, meta.resultEvaluation, result.resultContent.map((v) => v.value)],
    orders: orders.map(({ jobOrder, state }) => [
      jobOrder.jobOrderID, jobOrder.equipmentRequirements[0].ID, jobOrder.priority, state[0].stateText.text]),
  };
}));
