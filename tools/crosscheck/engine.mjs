// Answers requests with the core engine of iam-simulate: one JSON object a line in, one word a line out.
//
// The engine's modules are loaded by path, because the package exports only its front end, which drops condition keys
// of issuers that have a path.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'

const scope = join(process.argv[2], 'node_modules', '@cloud-copilot')
const load = (...parts) => import(pathToFileURL(join(scope, ...parts)).href)
const engine = ['iam-simulate', 'dist', 'esm']
const { authorize } = await load(...engine, 'core_engine', 'CoreSimulatorEngine.js')
const { AwsRequestImpl } = await load(...engine, 'request', 'request.js')
const { DiscoveryContextKeyConstraints } = await load(...engine, 'context_keys', 'discoveryContextKeyConstraints.js')
const { RequestContextImpl } = await load(...engine, 'requestContext.js')
const { loadPolicy } = await load('iam-policy', 'dist', 'esm', 'index.js')

// The caller's own policies allow everything, so that the trust policy alone decides.
const everything = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
}

for await (const line of createInterface({ input: process.stdin })) {
  const { document, principal, action, context, role } = JSON.parse(line)
  const resource = { resource: role, accountId: role.split(':')[4] }
  let answer
  try {
    answer = authorize({
      request: new AwsRequestImpl(principal, resource, action, new RequestContextImpl(context)),
      sessionPolicy: undefined,
      identityPolicies: /:(role|user|assumed-role)\//.test(principal)
        ? [loadPolicy(everything, { name: 'everything' })]
        : [],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: loadPolicy(document, { name: 'trust' }),
      permissionBoundaries: undefined,
      vpcEndpointPolicies: undefined,
      simulationParameters: { simulationMode: 'Strict', discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints() },
    }).result
  } catch (error) {
    answer = `Failed: ${String(error).replaceAll('\n', ' ')}`
  }
  process.stdout.write(`${answer}\n`)
}
