// SPDX-License-Identifier: GPL-2.0-only
/*
 * hwmon_sim: a hwmon device of any name under the kernel's own hwmon core, for
 * chips that no virtual machine has (amdgpu, xe, i915, ina3221, ...).
 *
 *   insmod hwmon_sim.ko name=amdgpu power_uw=35000000 label=PPT average=1
 *   insmod hwmon_sim.ko name=xe energy=1 power_uw=20000000 label=card
 *
 * power_uw may be written while loaded; energy1_input integrates it.
 */
#include <linux/hwmon.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>

static char *name = "sim", *label = "";
static bool average, energy, input;
static int fail;
static unsigned long power_uw = 10000000;
module_param(name, charp, 0444);
module_param(label, charp, 0444);
module_param(average, bool, 0444);
module_param(energy, bool, 0444);
module_param(input, bool, 0444);
module_param(fail, int, 0644);		/* errno that reads give, 0 for none */

static DEFINE_MUTEX(lock);
static u64 energy_uj;
static u32 pj_rest;
static ktime_t when;

static void advance(void)
{
	ktime_t now = ktime_get();
	u64 uw_us = (u64)ktime_us_delta(now, when) * power_uw + pj_rest;	/* pJ */

	energy_uj += div_u64_rem(uw_us, 1000000, &pj_rest);
	when = now;
}

static int set_power(const char *val, const struct kernel_param *kp)
{
	int ret;

	mutex_lock(&lock);
	advance();
	ret = param_set_ulong(val, kp);
	mutex_unlock(&lock);
	return ret;
}
static const struct kernel_param_ops power_ops = { .set = set_power, .get = param_get_ulong };
module_param_cb(power_uw, &power_ops, &power_uw, 0644);

static umode_t visible(const void *d, enum hwmon_sensor_types t, u32 attr, int ch)
{
	if (t == hwmon_power && attr == hwmon_power_average)
		return average ? 0444 : 0;
	if (t == hwmon_power && attr == hwmon_power_input)
		return input ? 0444 : 0;
	if (t == hwmon_energy && attr == hwmon_energy_input)
		return energy ? 0444 : 0;
	if ((t == hwmon_power && attr == hwmon_power_label) ||
	    (t == hwmon_energy && attr == hwmon_energy_label))
		return *label && (t == hwmon_energy ? energy : average || input) ? 0444 : 0;
	return 0;
}

static int sim_read(struct device *dev, enum hwmon_sensor_types t, u32 attr, int ch, long *val)
{
	if (fail)
		return -fail;
	mutex_lock(&lock);
	advance();
	*val = t == hwmon_energy ? (long)energy_uj : (long)power_uw;
	mutex_unlock(&lock);
	return 0;
}

static int sim_string(struct device *dev, enum hwmon_sensor_types t, u32 attr, int ch, const char **s)
{
	*s = label;
	return 0;
}

static const struct hwmon_ops ops = { .is_visible = visible, .read = sim_read, .read_string = sim_string };
static const struct hwmon_channel_info * const channels[] = {
	HWMON_CHANNEL_INFO(power, HWMON_P_AVERAGE | HWMON_P_INPUT | HWMON_P_LABEL),
	HWMON_CHANNEL_INFO(energy, HWMON_E_INPUT | HWMON_E_LABEL),
	NULL
};
static const struct hwmon_chip_info chip = { .ops = &ops, .info = channels };

static struct platform_device *pdev;
static struct device *hw;

static int __init hwmon_sim_init(void)
{
	pdev = platform_device_register_simple("hwmon_sim", -1, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	when = ktime_get();	/* what setting the parameters counted is dropped */
	energy_uj = 0;
	hw = hwmon_device_register_with_info(&pdev->dev, name, NULL, &chip, NULL);
	if (IS_ERR(hw)) {
		platform_device_unregister(pdev);
		return PTR_ERR(hw);
	}
	return 0;
}

static void __exit hwmon_sim_exit(void)
{
	hwmon_device_unregister(hw);
	platform_device_unregister(pdev);
}

module_init(hwmon_sim_init);
module_exit(hwmon_sim_exit);
MODULE_DESCRIPTION("simulated hwmon chip for tests");
MODULE_LICENSE("GPL");
