import { readFileSync } from "node:fs";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

/** Connects to an actor with the authkey in a file. */
export function dial(address: string, keyfile: string): Transport {
  const key = Buffer.from(readFileSync(keyfile, "latin1").replace(/\n$/, ""), "latin1");
  const keyed: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${key.toString("base64url")}`);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: `http://${address}`, interceptors: [keyed] });
}
