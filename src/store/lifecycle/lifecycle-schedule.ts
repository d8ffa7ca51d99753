// When the lifecycle scan runs: soon after the start, so that a server that is often restarted still runs it, and
// then again and again with a rest between.

import { type LifecycleReport, type LifecycleScanDeps, scanLifecycle } from './lifecycle-scan.ts';

/** After a start there is other work first. */
const firstScanMs = 60_000;

export type LifecycleScheduleDeps = Omit<LifecycleScanDeps, 'signal'> & {
  /** From the end of a scan to the next, give or take a quarter. */
  readonly intervalMs: number;
  /** Told of every scan that went through. */
  readonly finished?: (report: LifecycleReport) => void;
};

/** Runs the scan until it is stopped. Stopping waits for the removals that were begun, not for the rest of the scan. */
export function startLifecycle(deps: LifecycleScheduleDeps): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  const schedule = (inMs: number): void => {
    if (stopping.signal.aborted) return;
    timer = setTimeout(
      () => {
        running = run().then(() => schedule(deps.intervalMs));
      },
      inMs * (0.75 + Math.random() / 2),
    );
    timer.unref();
  };
  const run = async (): Promise<void> => {
    const startedMs = performance.now();
    try {
      const report = await scanLifecycle({ ...deps, signal: stopping.signal });
      if (!stopping.signal.aborted) deps.finished?.(report);
      logReport(deps, report, performance.now() - startedMs);
    } catch (error) {
      deps.log.warn('the lifecycle scan failed and will be tried again', { error });
    }
  };
  schedule(Math.min(deps.intervalMs, firstScanMs));
  return {
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      await running;
    },
  };
}

function logReport(deps: LifecycleScheduleDeps, report: LifecycleReport, tookMs: number): void {
  const { object, version, marker, upload } = report;
  if (object + version + marker + upload === 0) return;
  deps.log.info('lifecycle rules removed what was due', {
    objects: object,
    versions: version,
    markers: marker,
    uploads: upload,
    seconds: Math.round(tookMs / 1000),
  });
}
