/** Clients of the actor under test, and what its errors tell. */
import assert from "node:assert/strict";
import net from "node:net";
import {
  Code,
  ConnectError,
  createClient,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ContractService } from "./gen/contract/v1/contract_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ActorService } from "./gen/uactor/v1/actor_pb.js";

export const address = process.env["CONTRACT_ADDRESS"]!;
export const authorization = process.env["CONTRACT_AUTHORIZATION"]!;

const keyed: Interceptor = (next) => (request) => {
  request.header.set("authorization", authorization);
  return next(request);
};

function transport(interceptors: Interceptor[]): Transport {
  const socket = address.startsWith("unix:") ? address.slice("unix:".length) : undefined;
  return createGrpcTransport({
    baseUrl: socket === undefined ? `http://${address}` : "http://localhost",
    nodeOptions: socket === undefined ? {} : { createConnection: () => net.connect(socket) },
    interceptors,
  });
}

export const client = createClient(ContractService, transport([keyed]));
export const actor = createClient(ActorService, transport([keyed]));
export const stranger = createClient(ContractService, transport([]));

/** Returns the details of the error that a call must end with. */
export async function details(call: Promise<unknown>, code: Code) {
  const error = await call.then(
    () => assert.fail("the call should have failed"),
    (reason: unknown) => ConnectError.from(reason),
  );
  assert.equal(Code[error.code], Code[code], error.message);
  return {
    info: error.findDetails(ErrorInfoSchema)[0],
    fields: error.findDetails(BadRequestSchema)[0]?.fieldViolations ?? [],
  };
}
