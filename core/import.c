// SPDX-License-Identifier: MIT
// Enters: a predecessor's config. Leaves: refractium.lua on standard output, or one line on standard error.
// YAML and libconfig are read by their libraries, which are loaded here, when such a file is imported, and not linked
// (docs/decisions/0012): serving needs neither. TOML is read by lua/refractium/import/toml.lua.
// What a key means is the business of lua/refractium/import/.
#include "import.h"

#include <dlfcn.h>
#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "arena.h"
#include "script.h"

// ---- events ---------------------------------------------------------------------------------------------------------

int rx_import_fail(struct rx_import *in, uint32_t line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(in->error, sizeof in->error, fmt, ap);
    va_end(ap);
    in->error_line = line ? line : 1;
    return -1;
}

int rx_import_add(struct rx_import *in, enum rx_import_kind kind, uint32_t line, const char *key, const char *text,
                  size_t text_len)
{
    if (in->n == in->cap) {
        uint32_t cap = in->cap ? in->cap * 2 : 64;
        struct rx_import_event *grown = rx_arena_get(in->arena, cap * sizeof *grown);
        if (!grown)
            return rx_import_fail(in, line, "out of memory");
        if (in->n)
            memcpy(grown, in->events, in->n * sizeof *grown);
        in->events = grown;
        in->cap = cap;
    }
    struct rx_import_event e = { .kind = kind, .line = line, .text_len = (uint32_t)text_len };
    e.text = rx_arena_copy(in->arena, text ? text : "", text_len);
    if (key) {
        e.key_len = (uint32_t)strlen(key);
        e.key = rx_arena_copy(in->arena, key, e.key_len);
    }
    if (!e.text || (key && !e.key))
        return rx_import_fail(in, line, "out of memory");
    in->events[in->n++] = e;
    return 0;
}

// A library and some of its functions, by name; the handle stays until the end of the program.
static int load(struct rx_import *in, const char *soname, const char *package, const char *const *names, void **functions,
                unsigned n)
{
    void *lib = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return rx_import_fail(in, 1, "reading this needs %s, which is not installed (Debian: %s)", soname, package);
    for (unsigned i = 0; i < n; i++)
        if (!(functions[i] = dlsym(lib, names[i])))
            return rx_import_fail(in, 1, "%s has no %s", soname, names[i]);
    return 0;
}

// ---- YAML -----------------------------------------------------------------------------------------------------------

static union {
    struct {
        __typeof__(yaml_parser_initialize) *init;
        __typeof__(yaml_parser_set_input_string) *input;
        __typeof__(yaml_parser_parse) *parse;
        __typeof__(yaml_event_delete) *forget;
        __typeof__(yaml_parser_delete) *fini;
    };
    void *functions[5];
} yaml;

static const char *const yaml_names[] = { "yaml_parser_initialize", "yaml_parser_set_input_string", "yaml_parser_parse",
                                          "yaml_event_delete", "yaml_parser_delete" };

// Where in the document the reader is: mappings alternate between keys and values.
struct yaml_walk {
    struct rx_import *in;
    unsigned depth, documents;
    bool is_mapping[RX_IMPORT_DEPTH + 1];
    char *key; // owned: waiting for its value
};

static int yaml_key(struct yaml_walk *w, const yaml_event_t *e, uint32_t line)
{
    size_t len = e->data.scalar.length;
    if (memchr(e->data.scalar.value, 0, len))
        return rx_import_fail(w->in, line, "a key with a zero byte");
    w->key = strndup((const char *)e->data.scalar.value, len);
    return w->key ? 0 : rx_import_fail(w->in, line, "out of memory");
}

static int yaml_value(struct yaml_walk *w, enum rx_import_kind kind, uint32_t line, const char *text, size_t len)
{
    int rc = rx_import_add(w->in, kind, line, w->key, text, len);
    free(w->key);
    w->key = NULL;
    return rc;
}

static int yaml_open(struct yaml_walk *w, bool is_mapping, bool is_tagged, uint32_t line)
{
    if (w->is_mapping[w->depth] && !w->key)
        return rx_import_fail(w->in, line, "a key that is no word");
    if (is_tagged)
        return rx_import_fail(w->in, line, "tags (!...) are not read");
    if (w->depth == RX_IMPORT_DEPTH)
        return rx_import_fail(w->in, line, "nested too deeply");
    w->is_mapping[++w->depth] = is_mapping;
    return yaml_value(w, is_mapping ? RX_IMPORT_TABLE : RX_IMPORT_LIST, line, NULL, 0);
}

static int yaml_scalar(struct yaml_walk *w, const yaml_event_t *e, uint32_t line)
{
    if (e->data.scalar.tag)
        return rx_import_fail(w->in, line, "tags (!...) are not read");
    if (w->is_mapping[w->depth] && !w->key)
        return yaml_key(w, e, line);
    bool is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return yaml_value(w, is_plain ? RX_IMPORT_PLAIN : RX_IMPORT_STRING, line, (const char *)e->data.scalar.value,
                      e->data.scalar.length);
}

static int yaml_take(struct yaml_walk *w, const yaml_event_t *e)
{
    uint32_t line = (uint32_t)e->start_mark.line + 1;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return w->documents++ ? rx_import_fail(w->in, line, "a second document in one file") : 0;
    case YAML_ALIAS_EVENT:
        return rx_import_fail(w->in, line, "aliases (*name) are not read: write the value out");
    case YAML_SCALAR_EVENT:
        return yaml_scalar(w, e, line);
    case YAML_MAPPING_START_EVENT:
        return yaml_open(w, true, e->data.mapping_start.tag != NULL, line);
    case YAML_SEQUENCE_START_EVENT:
        return yaml_open(w, false, e->data.sequence_start.tag != NULL, line);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        w->depth--;
        return rx_import_add(w->in, RX_IMPORT_END, line, NULL, NULL, 0);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

int rx_import_yaml(struct rx_import *in, const char *text, size_t len)
{
    yaml_parser_t parser;
    struct yaml_walk w = { .in = in };
    int rc = 0;
    if (!yaml.init && load(in, "libyaml-0.so.2", "libyaml-0-2", yaml_names, yaml.functions, RX_COUNT(yaml_names)))
        return -1;
    if (!yaml.init(&parser))
        return rx_import_fail(in, 1, "out of memory");
    yaml.input(&parser, (const unsigned char *)text, len);
    for (bool is_end = false; !rc && !is_end;) {
        yaml_event_t e;
        if (!yaml.parse(&parser, &e)) {
            rc = rx_import_fail(in, (uint32_t)parser.problem_mark.line + 1, "%s",
                                parser.problem ? parser.problem : "is no YAML");
            break;
        }
        rc = yaml_take(&w, &e);
        is_end = e.type == YAML_STREAM_END_EVENT;
        yaml.forget(&e);
    }
    yaml.fini(&parser);
    free(w.key);
    return rc;
}

// ---- libconfig ------------------------------------------------------------------------------------------------------

static union {
    struct {
        __typeof__(config_init) *init;
        __typeof__(config_read_string) *read;
        __typeof__(config_set_include_dir) *set_dir;
        __typeof__(config_destroy) *fini;
        __typeof__(config_setting_length) *length;
        __typeof__(config_setting_get_elem) *elem;
        __typeof__(config_setting_get_string) *get_string;
        __typeof__(config_setting_get_int64) *get_int64;
        __typeof__(config_setting_get_float) *get_float;
        __typeof__(config_setting_get_bool) *get_bool;
    };
    void *functions[10];
} lc;

static const char *const lc_names[] = { "config_init",           "config_read_string",       "config_set_include_dir",
                                        "config_destroy",        "config_setting_length",    "config_setting_get_elem",
                                        "config_setting_get_string", "config_setting_get_int64",
                                        "config_setting_get_float",  "config_setting_get_bool" };

static int lc_scalar(struct rx_import *in, const config_setting_t *s, uint32_t line)
{
    char number[40];
    const char *text = number;
    enum rx_import_kind kind = RX_IMPORT_NUMBER;
    switch (s->type) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        snprintf(number, sizeof number, "%lld", lc.get_int64(s));
        break;
    case CONFIG_TYPE_FLOAT:
        snprintf(number, sizeof number, "%.17g", lc.get_float(s));
        break;
    case CONFIG_TYPE_BOOL:
        kind = RX_IMPORT_BOOLEAN;
        text = lc.get_bool(s) ? "true" : "false";
        break;
    default:
        kind = RX_IMPORT_STRING;
        text = lc.get_string(s);
        break;
    }
    return rx_import_add(in, kind, line, s->name, text, text ? strlen(text) : 0);
}

static int lc_walk(struct rx_import *in, const config_setting_t *s, unsigned depth)
{
    uint32_t line = RX_MAX(s->line, 1u);
    bool is_group = s->type == CONFIG_TYPE_GROUP;
    if (!is_group && s->type != CONFIG_TYPE_ARRAY && s->type != CONFIG_TYPE_LIST)
        return lc_scalar(in, s, line);
    if (depth == RX_IMPORT_DEPTH)
        return rx_import_fail(in, line, "nested too deeply");
    if (rx_import_add(in, is_group ? RX_IMPORT_TABLE : RX_IMPORT_LIST, line, s->name, NULL, 0))
        return -1;
    int n = lc.length(s);
    for (int i = 0; i < n; i++)
        if (lc_walk(in, lc.elem(s, (unsigned)i), depth + 1))
            return -1;
    return rx_import_add(in, RX_IMPORT_END, line, NULL, NULL, 0);
}

int rx_import_libconfig(struct rx_import *in, const char *text, const char *dir)
{
    config_t c;
    int rc;
    if (!lc.init && load(in, "libconfig.so.9", "libconfig9", lc_names, lc.functions, RX_COUNT(lc_names)))
        return -1;
    lc.init(&c);
    if (dir)
        lc.set_dir(&c, dir);
    if (lc.read(&c, text) == CONFIG_TRUE)
        rc = lc_walk(in, c.root, 0);
    else
        rc = rx_import_fail(in, (uint32_t)RX_MAX(c.error_line, 1), "%s%s%s", c.error_file ? c.error_file : "",
                            c.error_file ? ": " : "", c.error_text ? c.error_text : "is no libconfig");
    lc.fini(&c);
    return rc;
}

// ---- the command ----------------------------------------------------------------------------------------------------

static int complain(const char *name, const char *why)
{
    fprintf(stderr, "refractium import: %s: %s\n", name, why);
    return 1;
}

static char *read_all(FILE *f, size_t *len)
{
    char *text = malloc(RX_IMPORT_MOST + 1);
    if (!text)
        return NULL;
    *len = fread(text, 1, RX_IMPORT_MOST + 1, f);
    if (ferror(f) || *len > RX_IMPORT_MOST) {
        if (!ferror(f))
            errno = EFBIG;
        free(text);
        return NULL;
    }
    text[*len] = 0;
    return text;
}

int rx_import_run(const struct rx_args *a)
{
    if (!a->n_files)
        return complain("FILE", "is missing (\"-\" is standard input)");
    const char *name = a->files[0];
    bool is_stdin = !strcmp(name, "-");
    FILE *f = is_stdin ? stdin : fopen(name, "re");
    if (!f)
        return complain(name, strerror(errno));
    size_t len;
    char *text = read_all(f, &len);
    int err = errno;
    if (!is_stdin)
        fclose(f);
    if (!text)
        return complain(name, strerror(err));
    char *why = NULL;
    int code = rx_script_import(is_stdin ? "standard input" : name, text, len, a->format, stdout, &why);
    if (code)
        complain(name, why ? why : "out of memory");
    free(why);
    free(text);
    return code;
}
