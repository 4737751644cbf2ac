// A tree of files in memory, as naive as can be: what a drive must look like from the outside. Failures carry the code
// that the cache would throw.

import type { FakeServer } from '../support/fake_remote.js';

/** `null` is a directory. */
type Nodes = Map<string, string | null>;

export class TreeModel {
  #nodes: Nodes = new Map();
  #before: Nodes = new Map();

  /** Runs one operation that can be undone. */
  attempt<T>(operation: () => T): T {
    this.#before = new Map(this.#nodes);
    return operation();
  }

  undo(): void {
    this.#nodes = this.#before;
  }

  write(path: string, content: string): void {
    this.#needParent(path);
    if (this.#nodes.get(path) === null) throw failure('is_dir');
    this.#nodes.set(path, content);
  }

  read(path: string): string {
    this.#needParent(path);
    const content = this.#nodes.get(path);
    if (content === undefined) throw failure('not_found');
    if (content === null) throw failure('is_dir');
    return content;
  }

  isDir(path: string): boolean {
    return this.#nodes.get(path) === null;
  }

  list(path: string): string[] {
    if (this.#need(path) !== null) throw failure('not_dir');
    return this.#members(path).sort();
  }

  mkdir(path: string): void {
    this.#needParent(path);
    if (this.#nodes.has(path)) throw failure('exists');
    this.#nodes.set(path, null);
  }

  rmdir(path: string): void {
    if (this.#need(path) !== null) throw failure('not_dir');
    if (this.#members(path).length > 0) throw failure('not_empty');
    this.#nodes.delete(path);
  }

  unlink(path: string): void {
    if (this.#need(path) === null) throw failure('is_dir');
    this.#nodes.delete(path);
  }

  rename(from: string, to: string, mode: 'replace' | 'noreplace' | 'exchange'): void {
    // The parents of both come first, as in the kernel.
    this.#needParent(from);
    this.#needParent(to);
    const source = this.#need(from);
    const target = this.#nodes.get(to);
    if (mode === 'exchange') {
      if (target === undefined) throw failure('not_found');
      if (from === to) return;
      const a = this.#take(from);
      const b = this.#take(to);
      for (const [below, content] of a) this.#nodes.set(to + below, content);
      for (const [below, content] of b) this.#nodes.set(from + below, content);
      return;
    }
    if (target !== undefined) {
      if (mode === 'noreplace') throw failure('exists');
      if (from === to) return;
      if (source === null && target !== null) throw failure('not_dir');
      if (source !== null && target === null) throw failure('is_dir');
      if (target === null && this.#members(to).length > 0) throw failure('not_empty');
      this.#nodes.delete(to);
    }
    for (const [below, content] of this.#take(from)) this.#nodes.set(to + below, content);
  }

  /** path -> content, null for directories. */
  tree(): Record<string, string | null> {
    return Object.fromEntries([...this.#nodes].sort());
  }

  files(): [string, string][] {
    return [...this.#nodes].filter((entry): entry is [string, string] => entry[1] !== null);
  }

  sizes(): string[] {
    return [...this.#nodes]
      .map(([path, content]) => `${path}:${content === null ? 'dir:0' : `file:${content.length}`}`)
      .sort();
  }

  #need(path: string): string | null {
    this.#needParent(path);
    const content = this.#nodes.get(path);
    if (content === undefined) throw failure('not_found');
    return content;
  }

  #needParent(path: string): void {
    const parts = path.split('/');
    for (let i = 1; i < parts.length; i++) {
      const above = this.#nodes.get(parts.slice(0, i).join('/'));
      if (above === undefined) throw failure('not_found');
      if (above !== null) throw failure('not_dir');
    }
  }

  #members(path: string): string[] {
    const prefix = `${path}/`;
    return [...this.#nodes.keys()]
      .filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes('/'))
      .map((key) => key.slice(prefix.length));
  }

  /** Removes a node with all that is below it; answers what it was, by path below it. */
  #take(path: string): [string, string | null][] {
    const taken = [...this.#nodes].filter(([key]) => key === path || key.startsWith(`${path}/`));
    for (const [key] of taken) this.#nodes.delete(key);
    return taken.map(([key, content]) => [key.slice(path.length), content]);
  }
}

/** What is on the server, in the same form. */
export function serverTree(server: FakeServer): Record<string, string | null> {
  return Object.fromEntries(
    server
      .paths()
      .map((path) => [path, server.entry(path)?.kind === 'dir' ? null : server.text(path)] as const)
      .sort(),
  );
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}
