import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Departure, type Leaving } from '../../../src/server/departure.js';

/** Answers that note what became of them. */
function answers() {
  const said: string[] = [];
  const answer = (name: string, broken = false): Leaving => ({
    leave() {
      if (broken) throw new Error('broken');
      said.push(name);
    },
    abandon: () => said.push(`${name} abandoned`),
  });
  return { said, answer };
}

it('what is ready in one turn leaves together and in order, after all that came in was read', async () => {
  const departure = new Departure();
  const { said, answer } = answers();
  for (const name of ['one', 'two', 'three']) {
    departure.began({});
    departure.ready(answer(name, name === 'two'));
  }
  expect(said).toEqual([]);
  await turn();
  expect(said).toEqual(['one', 'two abandoned', 'three']);
  departure.ready(answer('later'));
  expect(said).toHaveLength(3);
  await turn();
  expect(said).toHaveLength(4);
});

it('who alone asks one thing after the other waits for nobody', async () => {
  const departure = new Departure();
  const { said, answer } = answers();
  const [one, other] = [{}, {}];
  const isAnsweredAtOnce = (connection: object) => {
    const before = said.length;
    departure.began(connection);
    departure.ready(answer('x'));
    return said.length > before;
  };
  for (let i = 0; i < 16; i++) expect(isAnsweredAtOnce(one)).toBe(false);
  for (let i = 0; i < 20; i++) expect(isAnsweredAtOnce(one)).toBe(true);
  expect(isAnsweredAtOnce(other)).toBe(false);
  expect(isAnsweredAtOnce(one)).toBe(false);
  await turn();
  expect(said).toHaveLength(38);
});
