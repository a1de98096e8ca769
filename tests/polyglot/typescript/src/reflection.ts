/** Prints, as JSON, what an actor tells by reflection to a client that is made with grpc-js. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { address, authorization } from "./clients.js";

interface Response {
  listServicesResponse?: { service: { name: string }[] };
  fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
  errorResponse?: { errorCode: number; errorMessage: string };
}

type Version = "v1" | "v1alpha";

/** Asks for one thing after the other, in one stream. */
function ask(version: Version, requests: object[]): Promise<Response[]> {
  const main = createRequire(import.meta.url).resolve("@grpc/reflection");
  const proto = join(dirname(main), `../proto/grpc/reflection/${version}/reflection.proto`);
  const loaded = grpc.loadPackageDefinition(loadSync(proto)) as any;
  const client = new loaded.grpc.reflection[version].ServerReflection(
    address,
    grpc.credentials.createInsecure(),
    { "grpc.enable_http_proxy": 0 },
  );
  const metadata = new grpc.Metadata();
  metadata.set("authorization", authorization);
  return new Promise((resolve, reject) => {
    const responses: Response[] = [];
    const stream = client.ServerReflectionInfo(metadata);
    stream.on("data", (response: Response) => responses.push(response));
    stream.on("error", reject);
    stream.on("end", () => resolve(responses));
    requests.forEach((request) => stream.write(request));
    stream.end();
  }).finally(() => client.close()) as Promise<Response[]>;
}

const [version, ...symbols] = process.argv.slice(2);
const [listed, ...files] = await ask(version as Version, [
  { listServices: "*" },
  ...symbols.map((symbol) => ({ fileContainingSymbol: symbol })),
]);
console.log(
  JSON.stringify({
    services: listed!.listServicesResponse!.service.map(({ name }) => name),
    files: files.map((each) => each.fileDescriptorResponse?.fileDescriptorProto.length ?? 0),
  }),
);
