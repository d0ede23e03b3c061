// SPDX-License-Identifier: GPL-2.0-only
/*
 * rapl_sim: simulated RAPL registers under the real intel_rapl_common driver.
 *
 * The in-tree driver keeps all of its own logic (zone names, units,
 * max_energy_range_uj, file modes, sysfs layout); only the register reads come
 * from here. Needs a guest CPU model that intel_rapl_common knows: for example
 * -cpu qemu64,vendor=GenuineIntel,family=6,model=85,stepping=4, or -cpu EPYC
 * with amd=1 (that table has no power limits). intel_rapl_msr must not be loaded.
 *
 * Power model, per package:  idle_mw + cpu_mw * (busy CPUs of that package)
 * core = core_pct percent of package; dram = dram_mw; psys = package + psys_mw.
 * /sys/module/rapl_sim/parameters/{idle_mw,cpu_mw,dram_mw,psys_mw} may be
 * written while loaded. start_raw sets the first value of every 32-bit counter,
 * so that a wrap can be had within seconds.
 *
 * What was really used is in parameters/truth, a line per package:
 *   CLOCK_MONOTONIC in ns, package, then uJ since loading of package, core, DRAM, psys
 * It has neither units nor wraps, and reading it is not disturbed by fail_reads.
 */
#include <linux/module.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/powercap.h>
#include <linux/tick.h>
#include <linux/topology.h>
#include <linux/intel_rapl.h>

#define MAX_PKG 8

static unsigned int idle_mw = 20000, cpu_mw = 15000, dram_mw = 3000, psys_mw = 10000;
static unsigned int core_pct = 70, start_raw = 1, dram = 1, psys = 1, core = 1;
static unsigned int esu = 14;	/* a count is 2^-esu J: 14 on most Intel parts, 16 on AMD */
static unsigned int dram_fixed_unit = 1; /* server parts: 15.3 uJ per DRAM count */
static int fail_reads;
static bool amd; /* only energy counters: no limits, DRAM or psys, as on AMD parts */

enum { R_UNIT = 1, R_BASE = 0x100 };
#define REG(dom, reg) (R_BASE + (dom) * 0x10 + (reg))

struct sim_pkg {
	struct rapl_package *rp;
	int die;
	u64 busy_ns;			/* of its CPUs, at the last update */
	ktime_t when;
	u64 pj[RAPL_DOMAIN_MAX];	/* picojoules gathered so far */
};

static struct sim_pkg pkgs[MAX_PKG];
static int npkgs;
static DEFINE_MUTEX(sim_lock);
static struct rapl_if_priv sim_priv;

/* Not kcpustat: that is counted by ticks, and an emulated CPU whose host is busy loses some. */
static u64 cpu_busy_ns(int cpu, u64 now)
{
	u64 idle = get_cpu_idle_time_us(cpu, NULL) + get_cpu_iowait_time_us(cpu, NULL);

	return now - idle * NSEC_PER_USEC;
}

static void advance(struct sim_pkg *p)
{
	ktime_t now = ktime_get();
	u64 dt = ktime_to_ns(ktime_sub(now, p->when)), busy = 0, dbusy, e;
	int cpu;

	for_each_online_cpu(cpu)
		if (topology_logical_die_id(cpu) == p->die)
			busy += cpu_busy_ns(cpu, ktime_to_ns(now));
	dbusy = busy > p->busy_ns ? busy - p->busy_ns : 0;
	e = dt * idle_mw + dbusy * cpu_mw;	/* ns * mW = pJ */
	p->pj[RAPL_DOMAIN_PACKAGE] += e;
	p->pj[RAPL_DOMAIN_PP0] += div_u64(e, 100) * core_pct;
	p->pj[RAPL_DOMAIN_DRAM] += dt * dram_mw;
	p->pj[RAPL_DOMAIN_PLATFORM] += e + dt * psys_mw;
	p->busy_ns = busy;
	p->when = now;
}

static int set_level(const char *val, const struct kernel_param *kp)
{
	int i, ret;

	mutex_lock(&sim_lock);
	for (i = 0; i < npkgs; i++)
		advance(&pkgs[i]);	/* what was drawn so far at the old level */
	ret = param_set_uint(val, kp);
	mutex_unlock(&sim_lock);
	return ret;
}
static const struct kernel_param_ops level_ops = { .set = set_level, .get = param_get_uint };
module_param_cb(idle_mw, &level_ops, &idle_mw, 0644);
module_param_cb(cpu_mw, &level_ops, &cpu_mw, 0644);
module_param_cb(dram_mw, &level_ops, &dram_mw, 0644);
module_param_cb(psys_mw, &level_ops, &psys_mw, 0644);
module_param(core_pct, uint, 0444);
module_param(start_raw, uint, 0444);
module_param(esu, uint, 0444);
module_param(core, uint, 0444);
module_param(dram, uint, 0444);
module_param(psys, uint, 0444);
module_param(dram_fixed_unit, uint, 0444);
module_param(amd, bool, 0444);
module_param(fail_reads, int, 0644);	/* nonzero: every read gives -EIO */

static int get_truth(char *buffer, const struct kernel_param *kp)
{
	int i, len = 0;

	mutex_lock(&sim_lock);
	for (i = 0; i < npkgs; i++) {
		struct sim_pkg *p = &pkgs[i];

		advance(p);
		len += scnprintf(buffer + len, PAGE_SIZE - len, "%lld %d %llu %llu %llu %llu\n",
				 ktime_to_ns(p->when), p->die,
				 div_u64(p->pj[RAPL_DOMAIN_PACKAGE], 1000000),
				 div_u64(p->pj[RAPL_DOMAIN_PP0], 1000000),
				 div_u64(p->pj[RAPL_DOMAIN_DRAM], 1000000),
				 div_u64(p->pj[RAPL_DOMAIN_PLATFORM], 1000000));
	}
	mutex_unlock(&sim_lock);
	return len;
}
static const struct kernel_param_ops truth_ops = { .get = get_truth };
module_param_cb(truth, &truth_ops, NULL, 0444);

static int sim_read(int cpu, struct reg_action *ra)
{
	unsigned int id = ra->reg.msr, dom, reg;
	struct sim_pkg *p = NULL;
	u64 v = 0;
	int i;

	if (fail_reads)
		return -EIO;
	if (id == R_UNIT) {
		/* 1/8 W, 2^-esu J, 976 us */
		ra->value = ((0xaull << 16) | (esu << 8) | 3) & ra->mask;
		return 0;
	}
	if (id < R_BASE || id >= REG(RAPL_DOMAIN_MAX, 0))
		return -EIO;		/* a domain that this part lacks */
	dom = (id - R_BASE) >> 4;
	reg = (id - R_BASE) & 0xf;
	mutex_lock(&sim_lock);
	for (i = 0; i < npkgs; i++)
		if (pkgs[i].die == topology_logical_die_id(cpu))
			p = &pkgs[i];
	if (reg == RAPL_DOMAIN_REG_STATUS && p) {
		advance(p);
		/* counts = pJ / unit */
		if (dom == RAPL_DOMAIN_DRAM && dram_fixed_unit)
			v = div_u64(p->pj[dom], 15300000);
		else
			v = div_u64(div_u64(p->pj[dom], 1000) << esu, 1000000000);
		v = (u32)(v + start_raw);
		if (!v)
			v = 1;
	} else if (amd) {
		mutex_unlock(&sim_lock);
		return -EIO;
	} else if (reg == RAPL_DOMAIN_REG_LIMIT) {
		v = 165 * 8 | BIT_ULL(15) | ((u64)(200 * 8) << 32);	/* PL1 165 W, PL2 200 W */
	} else if (reg == RAPL_DOMAIN_REG_INFO) {
		v = 165 * 8;
	}
	mutex_unlock(&sim_lock);
	ra->value = v & ra->mask;
	return 0;
}

static int sim_write(int cpu, struct reg_action *ra)
{
	return 0;
}

static void set_domain(int dom, int limits)
{
	sim_priv.regs[dom][RAPL_DOMAIN_REG_STATUS].msr = REG(dom, RAPL_DOMAIN_REG_STATUS);
	if (amd)
		return;
	sim_priv.regs[dom][RAPL_DOMAIN_REG_LIMIT].msr = REG(dom, RAPL_DOMAIN_REG_LIMIT);
	sim_priv.regs[dom][RAPL_DOMAIN_REG_INFO].msr = REG(dom, RAPL_DOMAIN_REG_INFO);
	sim_priv.limits[dom] = limits;
}

static void sim_exit_pkgs(void)
{
	while (npkgs > 0)
		rapl_remove_package(pkgs[--npkgs].rp);
}

static int __init rapl_sim_init(void)
{
	int cpu, i, ret = 0;

	sim_priv.type = RAPL_IF_MSR;
	sim_priv.reg_unit.msr = R_UNIT;
	sim_priv.read_raw = sim_read;
	sim_priv.write_raw = sim_write;
	set_domain(RAPL_DOMAIN_PACKAGE, BIT(POWER_LIMIT2));
	if (core)
		set_domain(RAPL_DOMAIN_PP0, 0);
	if (dram && !amd)
		set_domain(RAPL_DOMAIN_DRAM, 0);
	if (psys && !amd)
		set_domain(RAPL_DOMAIN_PLATFORM, BIT(POWER_LIMIT2));

	sim_priv.control_type = powercap_register_control_type(NULL, "intel-rapl", NULL);
	if (IS_ERR(sim_priv.control_type))
		return PTR_ERR(sim_priv.control_type);

	for_each_online_cpu(cpu) {
		int die = topology_logical_die_id(cpu);
		struct sim_pkg *p;

		for (i = 0; i < npkgs; i++)
			if (pkgs[i].die == die)
				break;
		if (i < npkgs || npkgs == MAX_PKG)
			continue;
		p = &pkgs[npkgs];
		p->die = die;
		p->when = ktime_get();
		npkgs++;
		mutex_lock(&sim_lock);
		advance(p);
		memset(p->pj, 0, sizeof(p->pj));
		mutex_unlock(&sim_lock);
		p->rp = rapl_add_package(cpu, &sim_priv, true);
		if (IS_ERR(p->rp)) {
			ret = PTR_ERR(p->rp);
			npkgs--;
			break;
		}
	}
	if (ret) {
		sim_exit_pkgs();
		powercap_unregister_control_type(sim_priv.control_type);
	}
	return ret;
}

static void __exit rapl_sim_exit(void)
{
	sim_exit_pkgs();
	powercap_unregister_control_type(sim_priv.control_type);
}

module_init(rapl_sim_init);
module_exit(rapl_sim_exit);
MODULE_DESCRIPTION("simulated RAPL registers for tests");
MODULE_LICENSE("GPL");
