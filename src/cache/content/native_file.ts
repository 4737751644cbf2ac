// fallocate(2) mode bits for those who call `ContentFile.fallocate`.
export { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../../libc.js';
