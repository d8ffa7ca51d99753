// The sections of a configuration that the reference does not have: wrapping, known keys, the audit file,
// peers. Each is part of the result only if it is configured.

import { readWrapping, type WrappingConfig } from './keystore.ts';
import type { ConfigFile } from './schema.ts';
import { KesConfigError } from './yaml.ts';
import { readDuration } from './duration.ts';

/** The sections, each there only if it is configured. */
export type KesExtensions = {
  /** Present when stored keys are wrapped under a key of another system. */
  readonly wrapping?: WrappingConfig;
  /** File that remembers which key each name had over a restart; absent: only while running. */
  readonly knownKeysFile?: string;
  readonly auditFile?: KesAuditConfig;
  readonly peers?: KesPeersConfig;
};

/** The audit log that proves itself (docs/formats/audit-log.md). */
export type KesAuditConfig = {
  readonly file: string;
  /** `strict`: a call is answered after its line is durable. */
  readonly mode: 'strict' | 'relaxed';
  /** PEM file of the Ed25519 key that signs checkpoints; made when it is not there. */
  readonly keyFile: string;
  /** A checkpoint after so many lines or so long after the last line without one. */
  readonly checkpointLines: number;
  readonly checkpointMs: number;
};

/** The other nodes on the same key store: they are told of changes, and may tell. */
export type KesPeersConfig = {
  readonly endpoints: readonly string[];
  readonly identities: readonly string[];
  readonly apiKey: string;
  /** File or directory of roots to trust; empty for the system's. */
  readonly ca: string;
};

/** Reads and checks these sections. Throws `KesConfigError`. */
export function readExtensions(file: ConfigFile): KesExtensions {
  const wrapping = readWrapping(file.wrapping);
  const auditFile = readAuditFile(file);
  const peers = readPeers(file);
  return {
    ...(wrapping && { wrapping }),
    ...(file.known_keys !== undefined && { knownKeysFile: file.known_keys }),
    ...(auditFile && { auditFile }),
    ...(peers && { peers }),
  };
}

function readAuditFile({ audit }: ConfigFile): KesAuditConfig | undefined {
  if (audit === undefined) return undefined;
  const { file = '', mode = 'relaxed', key, checkpoint } = audit;
  if (file === '') throw invalidAudit('no file specified', 'file');
  if (mode !== 'strict' && mode !== 'relaxed') {
    throw invalidAudit(`mode '${mode}' is neither 'strict' nor 'relaxed'`, 'mode');
  }
  const lines = checkpoint?.lines ?? '1000';
  if (!/^[1-9]\d{0,6}$/.test(lines)) {
    throw invalidAudit(`checkpoint lines '${lines}'`, 'checkpoint', 'lines');
  }
  const at = ['audit', 'checkpoint', 'interval'];
  const checkpointMs = readDuration(checkpoint?.interval ?? '1m', at);
  if (checkpointMs <= 0) {
    throw invalidAudit('checkpoint interval must be above 0', 'checkpoint', 'interval');
  }
  return {
    file,
    mode,
    keyFile: key ?? `${file}.key`,
    checkpointLines: Number(lines),
    checkpointMs,
  };
}

function invalidAudit(problem: string, ...at: string[]): KesConfigError {
  return new KesConfigError(`kesconf: invalid audit config: ${problem}`, { at: ['audit', ...at] });
}

function readPeers({ peers }: ConfigFile): KesPeersConfig | undefined {
  if (peers === undefined) return undefined;
  const { endpoints = [], identities = [], api_key: apiKey = '', ca = '' } = peers;
  if (endpoints.length > 0 && apiKey === '') {
    throw new KesConfigError('kesconf: invalid peers config: no api_key specified', {
      at: ['peers', 'api_key'],
    });
  }
  return { endpoints, identities, apiKey, ca };
}
