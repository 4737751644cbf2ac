// The accounts' view of the metadata store: a root per user, its quota, its end.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Name } from '../../ids.js';
import type { MetadataStore } from '../storage/metadata/metadata_store.js';
import type { SharedWith, UserFiles } from './sqlite_accounts.js';

/** `uploads`: DIR/uploads, where the unfinished ones of each user are. */
export function storedUserFiles(store: MetadataStore, uploads: string): UserFiles {
  const forgetUploads = (userId: string) => rm(join(uploads, userId), { recursive: true, force: true });
  return {
    forgetUploads,
    async ensure(userId, quota_bytes) {
      const done = await store.read(async (tx) => {
        const root = await tx.root(userId);
        return root !== null && (await tx.usage(root.id)).quota_bytes === quota_bytes;
      });
      if (done) return;
      await store.write(async (tx) => tx.setQuota((await tx.ensureRoot(userId)).id, quota_bytes));
    },
    async setQuota(userId, quota_bytes, change) {
      await store.write(async (tx) => {
        change();
        await tx.setQuota((await tx.ensureRoot(userId)).id, quota_bytes);
      });
    },
    hasAny(userId) {
      return store.read(async (tx) => {
        const root = await tx.root(userId);
        return root !== null && tx.hasChildren(root.id);
      });
    },
    async delete(userId) {
      await store.write((tx) => tx.removeRoot(userId));
      await forgetUploads(userId);
    },
    async handOver(userId, toUserId, name) {
      const folder = await store.write((tx) => tx.handOver(userId, toUserId, name as Name));
      await forgetUploads(userId);
      return folder === null ? null : folder.name;
    },
  };
}

/** The accounts' view of the shares. */
export function storedShares(store: MetadataStore): SharedWith {
  return {
    async groupChanged(groupId, change) {
      await store.write((tx) => tx.setPeople(groupId, change()));
    },
    async groupRemoved(groupId, change) {
      await store.write(async (tx) => {
        change();
        for (const share of await tx.shares({ kind: 'group', groupId })) await tx.removeShare(share.id);
      });
    },
    async userRemoved(userId, change) {
      await store.write((tx) => {
        change();
        return tx.forgetUser(userId);
      });
    },
  };
}
