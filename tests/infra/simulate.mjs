// Answers a batch of requests with an IAM simulator that is not ours, and that we neither ship nor import: it is under the AGPL,
// and runs here as a process of its own, for tests only.
//
// stdin:  a JSON array of simulations (principal, action, resource, context, policies ...)
// stdout: a JSON array as long: "Allowed", "ImplicitlyDenied", "ExplicitlyDenied", or "error: ..." where a request or a policy is not valid

import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

// The simulator drops condition keys that its data lack, and they lack the claims that every OIDC provider has. Both go under
// the names of claims that it knows: to a condition on text, one name is as good as another.
const STAND_INS = { 'githubusercontent.com:sub': 'githubusercontent.com:repository', 'githubusercontent.com:aud': 'githubusercontent.com:workflow' }

async function answer(simulation) {
  const response = await runSimulation(simulation, {})
  if (response.resultType === 'error') return `error: ${JSON.stringify(response.errors)}`
  const results = response.resultType === 'single' ? [response.result] : response.results
  const dropped = results.flatMap((result) => result.ignoredContextKeys ?? [])
  return dropped.length ? `error: no such condition key for ${simulation.request.action}: ${dropped}` : response.overallResult
}

const asked = Object.entries(STAND_INS).reduce((text, [key, other]) => text.replaceAll(key, other), readFileSync(0, 'utf8'))
const answers = []
for (const simulation of JSON.parse(asked)) answers.push(await answer(simulation))
process.stdout.write(JSON.stringify(answers))
