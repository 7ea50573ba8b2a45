/* The driver of tests/v1.0, dressed as one of a later minor: longer structs, a bit and a kind that 1.0 does not know. */
#define mica_storage_plugin_v1 inner_plugin
#include "v1.0/plain.c"
#undef mica_storage_plugin_v1

struct longer_table { mica_driver_vt known; void (*later[4])(void); };
struct longer_plugin { mica_plugin known; uint64_t later[8]; };
static struct longer_table longer_table;
static struct longer_plugin longer_plugin;

static int newer_open(const mica_host *host, const mica_open_args *args, mica_drv **out, mica_info *info, mica_error *err) {
  int kind = drv_open(host, args, out, info, err);
  if (kind == MICA_OK) info->caps |= UINT64_C(1) << 40; /* a capability of a later minor */
  return kind;
}

static int newer_check(mica_drv *drv, uint32_t kind, mica_str id, uint32_t level, mica_error *err) {
  if (id.len == 5 && memcmp(id.ptr, "later", 5) == 0) return failed(err, (enum mica_error_kind)77, 0, "a later kind");
  return drv_check(drv, kind, id, level, err);
}

MICA_EXPORT const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor);
const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor) {
  const mica_plugin *inner = inner_plugin(host_major, host_minor);
  if (inner == NULL) return NULL;
  memset(&longer_table, 0xff, sizeof longer_table); /* what a host of 1.0 must not look at */
  memset(&longer_plugin, 0xff, sizeof longer_plugin);
  longer_table.known = *inner->vt;
  longer_table.known.size = sizeof longer_table;
  longer_table.known.open = newer_open;
  longer_table.known.check = newer_check;
  longer_plugin.known = *inner;
  longer_plugin.known.size = sizeof longer_plugin;
  longer_plugin.known.abi_minor = 9;
  longer_plugin.known.vt = &longer_table.known;
  return &longer_plugin.known;
}
