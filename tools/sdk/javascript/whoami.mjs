// Prints who the default credentials of the AWS SDK for JavaScript v3 are, as one line of JSON; an argument names the
// profile.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const profile = process.argv[2];
const say = (said) => process.stdout.write(JSON.stringify(said) + "\n");

try {
  const sts = new STSClient(profile ? { profile } : {});
  const { Arn: arn } = await sts.send(new GetCallerIdentityCommand({}));
  const { expiration: expires } = await sts.config.credentials();
  say({ arn, expires, region: await sts.config.region() });
} catch (error) {
  say({ error: `${error.name}: ${error.message}` });
  process.exitCode = 1;
}
