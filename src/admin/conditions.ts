// Values for the conditions of policies, as far as an admin call has them: where it comes from, how and when.
// Who calls is added by whoever decides.

import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';

import type { ConditionValues } from '../iam/policy/policy-condition.ts';

/** The conditions of one call. */
export function conditionsOf(req: IncomingMessage, nowMs: number): ConditionValues {
  const { remoteAddress } = req.socket;
  const { referer } = req.headers;
  const userAgent = req.headers['user-agent'];
  return {
    'aws:CurrentTime': [new Date(nowMs).toISOString()],
    'aws:EpochTime': [String(Math.floor(nowMs / 1000))],
    'aws:SecureTransport': [String(req.socket instanceof TLSSocket)],
    // A dual-stack socket writes IPv4 addresses as IPv6 ones.
    ...(remoteAddress === undefined
      ? {}
      : { 'aws:SourceIp': [remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '')] }),
    ...(userAgent === undefined ? {} : { 'aws:UserAgent': [userAgent] }),
    ...(referer === undefined ? {} : { 'aws:Referer': [referer] }),
  };
}
