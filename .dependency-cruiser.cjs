// Who may import whom (docs/house.md). Checked by `npm run check`.
const leaf =
  '^src/(ids|errors|clock|names|log|make_folder|maybe_promise|race_abort|libc|process_state|spare_room)\\.ts$';
const room = (name, from, allowed) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^(src|bin)/', pathNot: [leaf, ...allowed] },
});
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    room('leaf-imports-only-leaf', leaf, []),
    room('fs-knows-only-the-cache', '^src/fs/', ['^src/fs/', '^src/cache/cache_api\\.ts$']),
    room('cache-knows-only-the-remote-interface', '^src/cache/', ['^src/cache/', '^src/remote/remote\\.ts$']),
    room('remote-stands-alone', '^src/remote/', ['^src/remote/']),
    room('wire-stands-alone', '^src/remote/wire/', ['^src/remote/wire/']),
    room('server-knows-only-the-wire', '^src/server/', ['^src/server/', '^src/remote/wire/']),
    room('daemon-wires-the-drive', '^src/daemon/', ['^src/(daemon|fs|cache|remote)/']),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
