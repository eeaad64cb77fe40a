/* The way from Python for what happens at every event: waiting, going on, copies.
 *
 * The engine's other functions are called through cffi. These few are functions of the interpreter's own kind, bound
 * to the engine, thread or address space they serve: a call costs a fifth, and what an event says is stored
 * right where the kernel looks for it. They make up the module runsc_platform_systrap._fast.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <Python.h>

#include <errno.h>
#include <string.h>

static PyObject *gone, *name_event, *name_nr, *name_args, *name_take_fault;

static void *target(PyObject *self) { return PyCapsule_GetPointer(self, NULL); }

/* An address as Python sees it: 0, and 1 in *bad, if no guest can have it. */
static uint64_t address(PyObject *value, int *bad) {
    uint64_t at = PyLong_AsUnsignedLongLong(value);

    *bad = at == (uint64_t)-1 && PyErr_Occurred() != NULL;
    if (*bad && PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_Clear();
    return at;
}

/* ---- Platform.wait ---- */

static int set_event(struct sy_thread *t, PyObject *thread) {
    PyObject *value;
    int rc;

    if (t->shown != t->event) {
        value = PyLong_FromLong(t->event);
        rc = value == NULL ? -1 : PyObject_SetAttr(thread, name_event, value);
        Py_DecRef(value);
        if (rc < 0)
            return rc;
        t->shown = t->event;
    }
    if (t->event == SY_SYSCALL) {
        PyObject *args = PyTuple_New(6);

        value = PyLong_FromLong(t->nr);
        rc = args == NULL || value == NULL ? -1 : PyObject_SetAttr(thread, name_nr, value);
        Py_DecRef(value);
        for (int i = 0; rc == 0 && i < 6; i++) {
            value = PyLong_FromUnsignedLongLong(t->args[i]);
            rc = value == NULL ? -1 : PyTuple_SetItem(args, i, value);
        }
        if (rc == 0)
            rc = PyObject_SetAttr(thread, name_args, args);
        Py_DecRef(args);
        return rc;
    }
    if (t->event == SY_FAULT) {
        value = PyObject_CallMethodObjArgs(thread, name_take_fault, NULL);
        Py_DecRef(value);
        return value == NULL ? -1 : 0;
    }
    return 0;
}

static PyObject *wait_event(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    struct sy_engine *e = target(self);
    struct sy_thread *t;
    PyObject *thread;
    long poll_fd;
    long long timeout;

    if (n != 2)
        return PyErr_Format(PyExc_TypeError, "wait(poll_fd, timeout_ns)");
    poll_fd = PyLong_AsLong(args[0]);
    timeout = PyLong_AsLongLong(args[1]);
    if ((poll_fd == -1 || timeout == -1) && PyErr_Occurred() != NULL)
        return NULL;
    t = sy_wait(e, (int)poll_fd, timeout, SY_QUICK);
    if (t == NULL) {
        Py_BEGIN_ALLOW_THREADS
        t = sy_wait(e, (int)poll_fd, timeout, SY_PATIENT);
        Py_END_ALLOW_THREADS
    }
    thread = t == NULL || t == SY_POLL_READY || t->python == NULL ? Py_None : t->python;
    Py_IncRef(thread);
    if (thread != Py_None && set_event(t, thread) < 0) {
        Py_DecRef(thread);
        return NULL;
    }
    return thread;
}

/* ---- threads ---- */

static PyObject *complete(PyObject *self, PyObject *result) {
    struct sy_thread *t = target(self);
    long long value = PyLong_AsLongLong(result);

    if (value == -1 && PyErr_Occurred() != NULL) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return NULL;
        PyErr_Clear(); /* an address of 64 bits */
        value = (long long)PyLong_AsUnsignedLongLong(result);
        if (PyErr_Occurred() != NULL)
            return NULL;
    }
    sy_thread_complete(t->engine, t, value);
    Py_RETURN_NONE;
}

static PyObject *resume(PyObject *self, PyObject *none) {
    struct sy_thread *t = target(self);

    (void)none;
    sy_thread_resume(t->engine, t);
    Py_RETURN_NONE;
}

/* ---- address spaces ---- */

static PyObject *read_memory(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    struct sy_space *s = target(self);
    struct sy_engine *e = s->engine;
    const uint8_t *copied;
    PyObject *data;
    uint64_t addr, length;
    int64_t got;
    int bad, bad_length;

    if (n != 2)
        return PyErr_Format(PyExc_TypeError, "read(addr, length)");
    addr = address(args[0], &bad);
    length = address(args[1], &bad_length);
    if (PyErr_Occurred() != NULL)
        return NULL;
    if (bad || bad_length || addr < e->min_address || addr >= e->task_size || length == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    copied = sy_copied(e, s, addr, length);
    if (copied != NULL && (s->nsites == 0 || addr >= s->site_high || addr + length <= s->site_low) && !s->released && !s->dead)
        return PyBytes_FromStringAndSize((const char *)copied, (Py_ssize_t)length);
    if (length > e->task_size - addr)
        length = e->task_size - addr;
    data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (data == NULL)
        return NULL;
    got = sy_space_read(e, s, addr, PyBytes_AsString(data), length);
    if (got < 0) {
        Py_DecRef(data);
        PyErr_SetNone(gone);
        return NULL;
    }
    sy_patch_hide(e, s, addr, (uint8_t *)PyBytes_AsString(data), (uint64_t)got);
    if ((uint64_t)got != length) {
        PyObject *shorter = PyBytes_FromStringAndSize(PyBytes_AsString(data), (Py_ssize_t)got);
        Py_DecRef(data);
        return shorter;
    }
    return data;
}

static PyObject *write_memory(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    struct sy_space *s = target(self);
    struct sy_engine *e = s->engine;
    Py_buffer view;
    uint64_t addr;
    int64_t put = 0;
    int bad;

    if (n != 2)
        return PyErr_Format(PyExc_TypeError, "write(addr, data)");
    addr = address(args[0], &bad);
    if (PyErr_Occurred() != NULL || PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    if (!bad && addr < e->task_size && view.len > 0) {
        if (s->dead || s->released)
            put = SY_GONE;
        else if (sy_copy_later(e, s, addr, view.buf, (uint64_t)view.len))
            put = view.len;
        else
            put = sy_space_write(e, s, addr, view.buf, (uint64_t)view.len);
    }
    PyBuffer_Release(&view);
    if (put < 0) {
        PyErr_SetNone(gone);
        return NULL;
    }
    return PyLong_FromLongLong(put);
}

/* ---- the module ---- */

static PyMethodDef wait_def = {"wait", (PyCFunction)(void (*)(void))wait_event, METH_FASTCALL, NULL};
static PyMethodDef complete_def = {"complete", complete, METH_O, NULL};
static PyMethodDef resume_def = {"resume", resume, METH_NOARGS, NULL};
static PyMethodDef read_def = {"read", (PyCFunction)(void (*)(void))read_memory, METH_FASTCALL, NULL};
static PyMethodDef write_def = {"write", (PyCFunction)(void (*)(void))write_memory, METH_FASTCALL, NULL};

static PyObject *bound(PyMethodDef *def, void *pointer) {
    PyObject *capsule = PyCapsule_New(pointer, NULL, NULL), *function;

    if (capsule == NULL)
        return NULL;
    function = PyCFunction_NewEx(def, capsule, NULL);
    Py_DecRef(capsule);
    return function;
}

static PyObject *pair(PyMethodDef *one, PyMethodDef *other, void *pointer) {
    PyObject *a = bound(one, pointer), *b = bound(other, pointer), *both = NULL;

    if (a != NULL && b != NULL)
        both = PyTuple_Pack(2, a, b);
    Py_DecRef(a);
    Py_DecRef(b);
    return both;
}

/* bind_engine(address): wait */
static PyObject *bind_engine(PyObject *self, PyObject *at) {
    void *e = PyLong_AsVoidPtr(at);

    (void)self;
    return e == NULL ? NULL : bound(&wait_def, e);
}

/* bind_thread(thread, address): complete, resume. Events of it are given to `thread` until it is released. */
static PyObject *bind_thread(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    struct sy_thread *t = n == 2 ? PyLong_AsVoidPtr(args[1]) : NULL;

    (void)self;
    if (t == NULL)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "bind_thread(thread, address)");
    t->python = args[0];
    return pair(&complete_def, &resume_def, t);
}

/* bind_space(address): read, write */
static PyObject *bind_space(PyObject *self, PyObject *at) {
    void *s = PyLong_AsVoidPtr(at);

    (void)self;
    return s == NULL ? NULL : pair(&read_def, &write_def, s);
}

static PyMethodDef bind_engine_def = {"bind_engine", bind_engine, METH_O, NULL};
static PyMethodDef bind_thread_def = {"bind_thread", (PyCFunction)(void (*)(void))bind_thread, METH_FASTCALL, NULL};
static PyMethodDef bind_space_def = {"bind_space", bind_space, METH_O, NULL};

static int add(PyObject *module, PyMethodDef *def) {
    PyObject *function = PyCFunction_NewEx(def, NULL, NULL);
    int rc = function == NULL ? -1 : PyObject_SetAttrString(module, def->ml_name, function);

    Py_DecRef(function);
    return rc;
}

/* Make the module, once. 0, or -1: the interpreter has no memory. */
int sy_python_install(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *contract = PyImport_ImportModule("runsc.platform");
    PyObject *module = PyImport_AddModule("runsc_platform_systrap._fast");
    int rc = -1;

    if (contract != NULL && module != NULL) {
        gone = PyObject_GetAttrString(contract, "AddressSpaceGone");
        name_event = PyUnicode_InternFromString("event");
        name_nr = PyUnicode_InternFromString("nr");
        name_args = PyUnicode_InternFromString("args");
        name_take_fault = PyUnicode_InternFromString("take_fault");
        if (gone != NULL && name_event != NULL && name_nr != NULL && name_args != NULL && name_take_fault != NULL)
            rc = add(module, &bind_engine_def) < 0 || add(module, &bind_thread_def) < 0 ||
                         add(module, &bind_space_def) < 0
                     ? -1
                     : 0;
    }
    PyErr_Clear();
    Py_DecRef(contract);
    PyGILState_Release(state);
    return rc;
}
