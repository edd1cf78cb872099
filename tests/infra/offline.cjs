// For NODE_OPTIONS=--require: whoever opens a connection is written to the file that CONNECTIONS names, and gets none.
const { appendFileSync } = require("node:fs");
const { Socket } = require("node:net");

Socket.prototype.connect = function (...given) {
  appendFileSync(process.env.CONNECTIONS, `${JSON.stringify(given[0])}\n`);
  throw new Error("no network in this test");
};
