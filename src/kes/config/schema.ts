// The shape of a configuration file as a schema: every member is optional here, unknown ones are ignored,
// scalars are texts. What is required and what fits together is checked afterwards, with the documented
// messages.

import { z } from 'zod';

const text = z.string().optional();
const texts = z.array(z.string()).optional();
const awsCredentials = z.object({ accesskey: text, secretkey: text, token: text }).optional();
const gcpCredentials = z
  .object({ client_email: text, client_id: text, private_key_id: text, private_key: text })
  .optional();
const azureCredentials = z
  .object({ tenant_id: text, client_id: text, client_secret: text })
  .optional();
const azureIdentity = z.object({ client_id: text }).optional();
const clientTls = z.object({ key: text, cert: text, ca: text }).optional();

const keyStoreSchema = z.object({
  fs: z.object({ path: text }).optional(),
  memory: z.object({}).optional(),
  vault: z
    .object({
      endpoint: text,
      engine: text,
      version: text,
      namespace: text,
      prefix: text,
      transit: z.object({ engine: text, key: text }).optional(),
      approle: z.object({ engine: text, namespace: text, id: text, secret: text }).optional(),
      kubernetes: z.object({ engine: text, namespace: text, role: text, jwt: text }).optional(),
      tls: clientTls,
      status: z.object({ ping: text }).optional(),
    })
    .optional(),
  fortanix: z
    .object({
      sdkms: z
        .object({
          endpoint: text,
          group_id: text,
          credentials: z.object({ key: text }).optional(),
          tls: clientTls,
        })
        .optional(),
    })
    .optional(),
  gemalto: z
    .object({
      keysecure: z
        .object({
          endpoint: text,
          credentials: z.object({ token: text, domain: text }).optional(),
          tls: clientTls,
        })
        .optional(),
    })
    .optional(),
  gcp: z
    .object({
      secretmanager: z
        .object({
          project_id: text,
          endpoint: text,
          scopes: texts,
          credentials: gcpCredentials,
        })
        .optional(),
    })
    .optional(),
  aws: z
    .object({
      secretsmanager: z
        .object({
          endpoint: text,
          region: text,
          kmskey: text,
          credentials: awsCredentials,
        })
        .optional(),
    })
    .optional(),
  azure: z
    .object({
      keyvault: z
        .object({
          endpoint: text,
          credentials: azureCredentials,
          managed_identity: azureIdentity,
        })
        .optional(),
    })
    .optional(),
  entrust: z
    .object({
      keycontrol: z
        .object({
          endpoint: text,
          vault_id: text,
          box_id: text,
          credentials: z.object({ username: text, password: text }).optional(),
          tls: clientTls,
        })
        .optional(),
    })
    .optional(),
  kmip: z
    .object({
      endpoint: text,
      version: text,
      credentials: z.object({ username: text, password: text }).optional(),
      tls: clientTls,
    })
    .optional(),
});

const wrappingSchema = z.object({
  aws: z
    .object({
      kms: z
        .object({ key: text, region: text, endpoint: text, credentials: awsCredentials })
        .optional(),
    })
    .optional(),
  gcp: z
    .object({
      kms: z.object({ key: text, endpoint: text, credentials: gcpCredentials }).optional(),
    })
    .optional(),
  azure: z
    .object({
      keyvault: z
        .object({
          endpoint: text,
          key: text,
          credentials: azureCredentials,
          managed_identity: azureIdentity,
        })
        .optional(),
    })
    .optional(),
  pkcs11: z.object({ library: text, token: text, pin: text, key: text }).optional(),
});

const policySchema = z
  .object({ allow: texts, deny: texts, identities: texts, paths: z.unknown().optional() })
  .optional();

/** The file as written. */
export const configFileSchema = z.object({
  version: text,
  address: text,
  root: text,
  admin: z.object({ identity: text }).optional(),
  tls: z
    .object({
      key: text,
      cert: text,
      password: text,
      auth: text,
      ca: text,
      proxy: z
        .object({ identities: texts, header: z.object({ cert: text }).optional() })
        .optional(),
    })
    .optional(),
  policy: z.record(z.string(), policySchema).optional(),
  cache: z
    .object({
      expiry: z.object({ any: text, unused: text, offline: text }).optional(),
      revalidate: text,
    })
    .optional(),
  api: z.record(z.string(), z.object({ skip_auth: text, timeout: text }).optional()).optional(),
  log: z.object({ error: text, audit: text }).optional(),
  keys: z.union([z.array(z.object({ name: text })), z.record(z.string(), z.unknown())]).optional(),
  keystore: keyStoreSchema.optional(),
  wrapping: wrappingSchema.optional(),
  known_keys: text,
  audit: z
    .object({
      file: text,
      mode: text,
      key: text,
      checkpoint: z.object({ lines: text, interval: text }).optional(),
    })
    .optional(),
  peers: z.object({ endpoints: texts, identities: texts, api_key: text, ca: text }).optional(),
});

export type ConfigFile = z.infer<typeof configFileSchema>;
export type KeyStoreSection = z.infer<typeof keyStoreSchema>;
export type WrappingSection = z.infer<typeof wrappingSchema>;
