// node-opcua against the load generator: node node_client.js URL TAGS SECONDS; prints a line of JSON.
const { OPCUAClient, ClientMonitoredItemGroup, AttributeIds, TimestampsToReturn } = require("node-opcua");

const [url, tags, seconds] = [process.argv[2], +process.argv[3], +process.argv[4]];
const BATCH = 5000;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function main() {
  const client = OPCUAClient.create({
    endpointMustExist: false, keepSessionAlive: false, requestedSessionTimeout: 600000,
    connectionStrategy: { maxRetry: 0 }, transportTimeout: 60000,
  });
  await client.connect(url);
  const session = await client.createSession();
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 100, requestedLifetimeCount: 10000, requestedMaxKeepAliveCount: 1000,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
  let count = 0, last;
  for (let at = 0; at < tags; at += BATCH) {
    const items = [];
    for (let k = at; k < Math.min(tags, at + BATCH); k++) items.push({ nodeId: `ns=2;i=${k}`, attributeId: AttributeIds.Value });
    const group = ClientMonitoredItemGroup.create(
      subscription, items, { samplingInterval: 100, discardOldest: true, queueSize: 1 }, TimestampsToReturn.Both);
    group.on("changed", (item, value) => { count++; last = value.value.value; });
    await new Promise((done) => group.on("initialized", done));
  }
  await session.setPublishingMode(true, subscription.subscriptionId);
  await sleep(1000);
  const [values, wall, cpu] = [count, process.hrtime.bigint(), process.cpuUsage()];
  await sleep(seconds * 1000);
  const used = process.cpuUsage(cpu), cpuS = (used.user + used.system) / 1e6;
  const wallS = Number(process.hrtime.bigint() - wall) / 1e9, got = count - values;
  console.log(JSON.stringify({ values: got, wall_s: wallS, busy: cpuS / wallS, ns: (1e9 * cpuS) / Math.max(got, 1) }));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
