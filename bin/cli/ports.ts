// Which port a server can have, asked before it starts.

import { createServer } from 'node:net';

const DEFAULT_PORTS = Array.from({ length: 20 }, (_, i) => 8080 + i);

/** The port of the last time if it is free (addresses given to other devices stay true), else the next one that is. */
export async function choosePort(host: string, lastPort: number | null): Promise<number> {
  for (const port of [...(lastPort === null ? [] : [lastPort]), ...DEFAULT_PORTS]) {
    if ((await listenProblem(host, port)) === null) return port;
  }
  return 0;
}

/** The errno of listening there (`EADDRINUSE`, `EACCES`, …), null if it works. */
export function listenProblem(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'EIO'));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(null)));
  });
}
