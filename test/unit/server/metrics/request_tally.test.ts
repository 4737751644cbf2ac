import { expect, test } from 'vitest';
import { RequestTally } from '../../../../src/server/metrics/request_tally.js';

const GET = { method: 'GET', status: 200, duration_ms: 2, received_bytes: 10, sent_bytes: 100, aborted: false };

test('requests are told by method and status, their durations in buckets that add up', () => {
  const tally = new RequestTally();
  tally.add(GET);
  tally.add({ ...GET, duration_ms: 1 });
  tally.add({ ...GET, status: 404, duration_ms: 70_000 });
  tally.add({ ...GET, method: 'PUT', aborted: true, received_bytes: -1 });
  const lines = tally.text().split('\n');
  expect(lines).toContain('# TYPE cloudmount_http_request_duration_seconds histogram');
  for (const line of [
    'cloudmount_http_requests_total{method="GET",status="200"} 2',
    'cloudmount_http_requests_total{method="GET",status="404"} 1',
    'cloudmount_http_requests_total{method="PUT",status="200"} 1',
    'cloudmount_http_request_duration_seconds_bucket{le="0.001",method="GET"} 1',
    'cloudmount_http_request_duration_seconds_bucket{le="0.0025",method="GET"} 2',
    'cloudmount_http_request_duration_seconds_bucket{le="60",method="GET"} 2',
    'cloudmount_http_request_duration_seconds_bucket{le="+Inf",method="GET"} 3',
    'cloudmount_http_request_duration_seconds_sum{method="GET"} 70.003',
    'cloudmount_http_request_duration_seconds_count{method="GET"} 3',
    'cloudmount_http_received_bytes_total 30',
    'cloudmount_http_sent_bytes_total 400',
    'cloudmount_http_aborted_total{method="PUT"} 1',
  ]) {
    expect(lines).toContain(line);
  }
});

test('methods nobody knows share one name', () => {
  const tally = new RequestTally();
  for (const method of ['BREW', 'x"y', 'other']) tally.add({ ...GET, method });
  expect(tally.text()).toContain('cloudmount_http_requests_total{method="other",status="200"} 3\n');
  expect(tally.text()).not.toContain('BREW');
});
