// Tables of what was measured: every target's best and median figure, and the ratios that count, since absolute figures
// move from run to run and from machine to machine.

import type { Goal, Metric } from './workloads.js';

/** target -> figures of its runs; `http` is the bare client. */
export type Results = Readonly<Record<string, readonly number[]>>;

export interface Row {
  readonly workload: string;
  readonly title: string;
  readonly metric: Metric;
  readonly results: Results;
}

export interface JudgedRow extends Row {
  readonly best: Readonly<Record<string, number>>;
  readonly median: Readonly<Record<string, number>>;
  readonly goal: { readonly value: number; readonly text: string; readonly met: boolean } | null;
}

export function judge(row: Row, ownServer: boolean): JudgedRow {
  const figures = Object.entries(row.results).filter(([, runs]) => runs.length > 0);
  const best = Object.fromEntries(figures.map(([name, runs]) => [name, bestOf(runs, row.metric.better)]));
  const median = Object.fromEntries(figures.map(([name, runs]) => [name, medianOf(runs)]));
  const goal = row.metric.goal === null ? null : limit(row.metric.goal, row.metric, best, ownServer);
  const ours = best['cloudmount'];
  if (goal === null || ours === undefined) return { ...row, best, median, goal: null };
  const met = row.metric.better === 'low' ? ours <= goal.value : ours >= goal.value;
  return { ...row, best, median, goal: { ...goal, met } };
}

function limit(
  goal: Goal,
  metric: Metric,
  best: Readonly<Record<string, number>>,
  ownServer: boolean,
): { value: number; text: string } | null {
  switch (goal.kind) {
    case 'absolute':
      return { value: goal.value, text: show(goal.value, metric) };
    case 'times': {
      const base = best[goal.of];
      return base === undefined ? null : { value: base * goal.factor, text: `${goal.factor} x ${goal.of}` };
    }
    case 'by_server':
      return limit(ownServer ? goal.own : goal.other, metric, best, ownServer);
    case 'all': {
      const all = goal.goals.map((one) => limit(one, metric, best, ownServer)).filter((one) => one !== null);
      const pick = metric.better === 'low' ? Math.min : Math.max;
      return all.length === 0
        ? null
        : { value: pick(...all.map((one) => one.value)), text: all.map((one) => one.text).join(', ') };
    }
  }
}

export function bestOf(runs: readonly number[], better: 'low' | 'high'): number {
  return better === 'low' ? Math.min(...runs) : Math.max(...runs);
}

export function medianOf(runs: readonly number[]): number {
  const sorted = [...runs].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function show(value: number, metric: Pick<Metric, 'unit'>): string {
  if (metric.unit === 's') return value < 0.1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toFixed(2)} s`;
  if (metric.unit === 'MB/s') return `${value.toFixed(value < 100 ? 1 : 0)} MB/s`;
  return value >= 10_000
    ? `${(value / 1000).toFixed(0)} k/s`
    : value >= 1000
      ? `${(value / 1000).toFixed(1)} k/s`
      : `${value.toFixed(0)} /s`;
}

/** A markdown table: best (median) of each target, then our ratio to each of the others, then the goal. */
export function table(rows: readonly JudgedRow[], targets: readonly string[]): string {
  const others = targets.filter((name) => name !== 'cloudmount');
  const head = ['workload', 'metric', ...targets, ...others.map((name) => `ours / ${name}`), 'goal'];
  const lines = rows.map((row) => [
    row.title,
    row.metric.name,
    ...targets.map((name) => {
      const best = row.best[name];
      const median = row.median[name];
      return best === undefined || median === undefined
        ? '–'
        : `${show(best, row.metric)} (${show(median, row.metric)})`;
    }),
    ...others.map((name) => {
      const ours = row.best['cloudmount'];
      const theirs = row.best[name];
      return ours === undefined || theirs === undefined || theirs === 0 ? '–' : (ours / theirs).toFixed(2);
    }),
    row.goal === null
      ? '–'
      : `${row.metric.better === 'low' ? '≤' : '≥'} ${row.goal.text}: ${row.goal.met ? 'met' : 'MISSED'}`,
  ]);
  return markdown(head, lines);
}

export function markdown(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)));
  const format = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  return [format(head), format(widths.map((width) => '-'.repeat(width))), ...lines.map(format)].join('\n');
}
