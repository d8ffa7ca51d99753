// The audit of a running service: the stream that the reference has, and the file that proves itself if the
// configuration names one. Follows the configuration over reloads.

import type { Log } from '../../base/log.ts';
import type { AuditEvent, AuditLog } from '../../kes/audit/audit.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import { type AuditFile, openAuditFile } from './audit-file.ts';

export type ServiceAuditDeps = {
  readonly stream: AuditLog;
  readonly log: Log;
  readonly nowMs: () => number;
};

/** Opens the audit file of a configuration. Rejects with `AuditFileError`, leaving nothing open. */
export async function openServiceAudit(
  config: KesConfig,
  deps: ServiceAuditDeps,
): Promise<ServiceAudit> {
  const audit = new ServiceAudit(deps);
  await audit.reload(config);
  return audit;
}

/** Made by `openServiceAudit`. */
export class ServiceAudit implements AuditLog {
  readonly #deps: ServiceAuditDeps;
  #file: AuditFile | undefined;

  constructor(deps: ServiceAuditDeps) {
    this.#deps = deps;
  }

  record(event: AuditEvent): void | Promise<void> {
    if (event.isPart !== true) void this.#deps.stream.record(event);
    return this.#file?.record(event);
  }

  /**
   * Goes on as the configuration says; the file is opened again under its name, so that a log that was
   * rotated goes on in a new file. Rejects, keeping what was, when the file cannot be opened.
   */
  async reload({ auditFile }: KesConfig): Promise<void> {
    const { log, nowMs } = this.#deps;
    const file = this.#file;
    if (auditFile === undefined) {
      this.#file = undefined;
      await file?.close();
    } else if (file === undefined) {
      this.#file = await openAuditFile(auditFile, { log, nowMs });
    } else {
      await file.reopen(auditFile);
    }
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}
